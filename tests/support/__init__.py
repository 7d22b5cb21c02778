"""What tests of all kinds share: a real server, real images, real repositories."""
