"""The command line `lsr`: one file per group of commands, which parses, makes one library call and prints.

The library is imported inside the commands, so that help is quick and a command needs only its own extra.
"""
