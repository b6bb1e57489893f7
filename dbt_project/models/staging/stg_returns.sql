{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('returns', {
    'id': 'bigint',
    'number': 'varchar',
    'order_id': 'bigint',
    'warehouse_id': 'bigint',
    'status': 'varchar',
    'asked_by': 'varchar',
    'reason': 'varchar',
    'decision': 'varchar',
    'resolution': 'varchar',
    'shipping_minor': 'bigint',
    'refund_minor': 'bigint',
    'forgiven_minor': 'bigint',
    'exchange_order_id': 'bigint',
    'requested_at': 'timestamptz',
    'decided_at': 'timestamptz',
    'expires_at': 'timestamptz',
    'received_at': 'timestamptz',
    'inspected_at': 'timestamptz',
    'resolved_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
