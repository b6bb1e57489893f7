"""Online Retail as a shop's history: invoices become orders, returns, adjustments and charges.

The data is "Online Retail" (Daqing Chen, UCI Machine Learning Repository, CC BY 4.0): the invoice
lines of a British gift-ware web shop. What becomes of each kind of row is in
``docs/online-retail.md``.
"""
