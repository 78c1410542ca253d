"""What plugins written for Tyk import: tyk, gateway. turnbuckle.tyk.names gives these modules the names they have there."""
