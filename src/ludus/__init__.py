"""ludus: an RL experimenter run by a vision-language model."""
