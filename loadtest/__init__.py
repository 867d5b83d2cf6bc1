"""Load tests of the demo server: ``locust -f loadtest``. Locust loads ``locustfile.py`` only."""
