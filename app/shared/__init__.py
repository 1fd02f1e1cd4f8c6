"""What every tab stands on, without a page: the services, who the owner is, work behind the page, promotion."""
