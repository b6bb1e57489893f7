{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('stock_moves', {
    'id': 'bigint',
    'sku_id': 'bigint',
    'from_location_id': 'bigint',
    'to_location_id': 'bigint',
    'quantity': 'bigint',
    'reason': 'varchar',
    'reference': 'varchar',
    'unit_cost_minor': 'bigint',
    'occurred_at': 'timestamptz',
    'changed_by': 'varchar'
}) }}
