{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('stock_count_lines', {
    'id': 'bigint',
    'stock_count_id': 'bigint',
    'location_id': 'bigint',
    'sku_id': 'bigint',
    'expected': 'bigint',
    'counted': 'bigint',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
