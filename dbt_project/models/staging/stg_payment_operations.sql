{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('payment_operations', {
    'id': 'bigint',
    'payment_id': 'bigint',
    'refund_id': 'bigint',
    'kind': 'varchar',
    'status': 'varchar',
    'amount_minor': 'bigint',
    'told_minor': 'bigint',
    'currency': 'varchar',
    'code': 'varchar',
    'attempts': 'integer',
    'requested_at': 'timestamptz',
    'settled_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
