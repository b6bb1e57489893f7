{{ config(materialized='incremental', incremental_strategy='append') }}
-- Every state that an order ever had.
{{ versions('orders', {
    'number': 'varchar',
    'status': 'varchar',
    'hold_reason': 'varchar',
    'deliver_by': 'date',
    'changed_by': 'varchar'
}) }}
