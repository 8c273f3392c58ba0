"""What `postroom demo` and `postroom up` run on this machine."""
