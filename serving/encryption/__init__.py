"""Keys of the deployment, and sealing bytes under them."""
