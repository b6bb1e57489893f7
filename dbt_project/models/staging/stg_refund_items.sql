{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('refund_items', {
    'id': 'bigint',
    'refund_id': 'bigint',
    'kind': 'varchar',
    'order_line_id': 'bigint',
    'quantity': 'bigint',
    'amount_minor': 'bigint',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
