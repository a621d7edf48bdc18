"""Other models: convolutional networks, Boltzmann machines."""
