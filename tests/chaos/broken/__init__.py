"""Broken builds: Postroom with one guard taken out at a time, to see that the chaos suite would catch each of them."""
