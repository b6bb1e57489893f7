{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('payments', {
    'id': 'bigint',
    'order_id': 'bigint',
    'gateway': 'varchar',
    'method': 'varchar',
    'currency': 'varchar',
    'amount_minor': 'bigint',
    'authorised_minor': 'bigint',
    'captured_minor': 'bigint',
    'refunded_minor': 'bigint',
    'credited_minor': 'bigint',
    'voided_minor': 'bigint',
    'charged_back_minor': 'bigint',
    'due_on': 'date',
    'created_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
