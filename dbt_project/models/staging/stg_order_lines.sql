{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('order_lines', {
    'id': 'bigint',
    'order_id': 'bigint',
    'line_no': 'integer',
    'sku_id': 'bigint',
    'quantity': 'bigint',
    'unit_price_minor': 'bigint',
    'unit_cost_minor': 'bigint',
    'gross_minor': 'bigint',
    'discount_minor': 'bigint',
    'rounding_minor': 'bigint',
    'net_minor': 'bigint',
    'tax_minor': 'bigint',
    'tax_rate_ppm': 'bigint',
    'cancelled_minor': 'bigint',
    'price_source': 'varchar',
    'promised_on': 'date',
    'allocated': 'bigint',
    'backordered': 'bigint',
    'shipped': 'bigint',
    'cancelled': 'bigint',
    'returned': 'bigint',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
