"""What servers share with each other: the ports, their in-process versions, and locks over any of them."""
