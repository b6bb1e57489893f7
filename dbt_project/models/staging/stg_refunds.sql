{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('refunds', {
    'id': 'bigint',
    'payment_id': 'bigint',
    'order_id': 'bigint',
    'return_id': 'bigint',
    'status': 'varchar',
    'destination': 'varchar',
    'reason': 'varchar',
    'currency': 'varchar',
    'amount_minor': 'bigint',
    'requested_at': 'timestamptz',
    'refunded_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
