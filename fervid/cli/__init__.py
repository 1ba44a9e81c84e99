"""What the commands share: settings from the command line, and errors that are one sentence."""
