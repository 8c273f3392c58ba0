"""The files of mail that `postroom send` and `postroom batch` read."""
