{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('payment_events', {
    'id': 'bigint',
    'payment_id': 'bigint',
    'kind': 'varchar',
    'amount_minor': 'bigint',
    'currency': 'varchar',
    'gateway_reference': 'varchar',
    'occurred_at': 'timestamptz',
    'changed_by': 'varchar'
}, days={'occurred_on': 'occurred_at'}) }}
