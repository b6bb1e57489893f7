"""The HTTP interface: one router per area over the services, errors as problem details."""
