"""Measurements, on real servers. Not part of the tests: a figure is not a pass or a failure.

`make bench` runs every peer beside Postroom (`benchmarks/__main__.py`) and writes `benchmarks/RESULTS.md`. Each
measurement is a program of its own, hands over what it has found, and the report is made from what is there:

    from benchmarks.results import Chart, Finding, Table, Target, save

    save("scale", Finding(
        title="Scale",                                # the section's heading
        place=40,                                     # sections stand in this order; 10 is the peers', 20 the lanes' …
        text="From ten thousand to a million mails …",  # Markdown above the tables: what was done, in which conditions
        tables=[Table(columns=["mails", "µs"], rows=[["10,000", "131"]], title="")],
        targets=[Target(what="cost per mail flat", wanted="within 10 %", found="4 %", reached=True, why="")],
        charts=[Chart(name="scale", title="…", unit="µs", bars={"10,000": 131.0})],
        data={…},                                     # every figure, unrounded, for machines
    ))

That writes `benchmarks/results/scale.json`, with date, commit, machine and versions, and renders `RESULTS.md` anew
from all files in that folder, as `python -m benchmarks.report` does. All targets stand in one table at the top;
`why` says of one that was not reached what the reason is, and the next step.

For the measurements to use: `sink` (nginx in SendGrid's place: plain, TLS with HTTP/2, and with a latency),
`accounting` (processor time and memory of a process tree), `mails` (distinct mails of 3 kB).
"""
