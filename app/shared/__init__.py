"""What every tab stands on: the services, who the owner is, work behind the page, promotion."""
