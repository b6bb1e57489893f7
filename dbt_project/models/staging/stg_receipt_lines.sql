{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('receipt_lines', {
    'id': 'bigint',
    'receipt_id': 'bigint',
    'purchase_order_line_id': 'bigint',
    'sku_id': 'bigint',
    'quantity': 'bigint',
    'damaged': 'bigint',
    'unit_cost_minor': 'bigint',
    'changed_by': 'varchar'
}) }}
