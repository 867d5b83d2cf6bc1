"""The demo application: what the README, the devtools, the load tests and the tests talk to."""
