{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('ticket_messages', {
    'id': 'bigint',
    'ticket_id': 'bigint',
    'author': 'varchar',
    'step': 'varchar',
    'is_internal': 'boolean',
    'sent_at': 'timestamptz',
    'changed_by': 'varchar'
}) }}
