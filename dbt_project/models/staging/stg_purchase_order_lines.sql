{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('purchase_order_lines', {
    'id': 'bigint',
    'purchase_order_id': 'bigint',
    'line_no': 'integer',
    'sku_id': 'bigint',
    'quantity': 'bigint',
    'received': 'bigint',
    'unit_cost_minor': 'bigint',
    'confirmed_on': 'date',
    'confirmed_cost_minor': 'bigint',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
