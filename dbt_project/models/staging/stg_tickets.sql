{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('tickets', {
    'id': 'bigint',
    'number': 'varchar',
    'order_id': 'bigint',
    'customer_id': 'bigint',
    'channel': 'varchar',
    'topic': 'varchar',
    'status': 'varchar',
    'priority': 'varchar',
    'assigned_to': 'varchar',
    'opened_at': 'timestamptz',
    'first_response_due_at': 'timestamptz',
    'resolution_due_at': 'timestamptz',
    'first_responded_at': 'timestamptz',
    'solved_at': 'timestamptz',
    'closed_at': 'timestamptz',
    'reopened': 'bigint',
    'rating': 'integer',
    'rated_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
