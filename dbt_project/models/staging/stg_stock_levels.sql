{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('stock_levels', {
    'id': 'bigint',
    'warehouse_id': 'bigint',
    'sku_id': 'bigint',
    'on_hand': 'bigint',
    'allocated': 'bigint',
    'low_threshold': 'bigint',
    'average_cost_e4': 'bigint',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
