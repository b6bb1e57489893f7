{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('return_lines', {
    'id': 'bigint',
    'return_id': 'bigint',
    'order_line_id': 'bigint',
    'sku_id': 'bigint',
    'reason': 'varchar',
    'note': 'varchar',
    'quantity': 'bigint',
    'received': 'bigint',
    'restocked': 'bigint',
    'quarantined': 'bigint',
    'scrapped': 'bigint',
    'refund_minor': 'bigint',
    'tax_minor': 'bigint',
    'fee_minor': 'bigint',
    'disposition': 'varchar',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
