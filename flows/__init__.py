"""What a person starts: the command line, the restore job, training, evaluation."""
