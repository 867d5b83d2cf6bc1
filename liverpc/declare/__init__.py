"""What an application declares, as frozen data, and the context its handlers get."""
