{{ config(materialized='table') }}
-- Tickets that this build has to do again: something of them or of their order changed, or they may
-- have become late by time alone.
with changed as (
    select id as ticket_id, _file from {{ ref('stg_tickets') }}
    union all
    select ticket_id, _file from {{ ref('stg_ticket_messages') }}
    union all
    select tickets.id as ticket_id, orders._file
    from {{ ref('stg_tickets') }} as tickets
    inner join {{ ref('stg_orders') }} as orders on tickets.order_id = orders.id
)

select ticket_id
from changed
where _file > '{{ processed_up_to() }}'
union distinct
select id as ticket_id
from {{ ref('stg_tickets') }}
where
    _op <> 'D'
    and closed_at is null
    and (
        (first_responded_at is null and {{ shop_day('first_response_due_at') }} < {{ business_date() }})
        or (solved_at is null and {{ shop_day('resolution_due_at') }} < {{ business_date() }})
    )
