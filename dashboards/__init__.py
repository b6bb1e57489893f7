"""Dashboards over the published warehouse; they write only through the services of ``oms_ops``."""
