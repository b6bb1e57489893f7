{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('ticket_id', ref('int_touched_tickets')) }}"
    )
}}
-- depends_on: {{ ref('int_touched_care_days') }}
with tickets as (
    select tickets.*
    from {{ ref('stg_tickets') }} as tickets
    inner join {{ ref('int_touched_tickets') }} as touched on tickets.id = touched.ticket_id
    where tickets._op <> 'D'
),

messages as (
    select
        messages.ticket_id,
        count(case when messages.author = 'customer' then 1 end) as customer_messages,
        count(
            case when messages.author = 'agent' and not messages.is_internal then 1 end
        ) as replies
    from {{ ref('stg_ticket_messages') }} as messages
    inner join tickets on messages.ticket_id = tickets.id
    where messages._op <> 'D'
    group by messages.ticket_id
)

-- Who waits is late once the day on which it was due is over; what was given up before it was due is
-- neither in time nor late.
select
    tickets.id as ticket_id,
    tickets.number as ticket_number,
    orders.id as order_id,
    orders.number as order_number,
    tickets.customer_id,
    tickets.channel,
    tickets.topic,
    tickets.priority,
    tickets.status,
    {{ shop_day('tickets.opened_at') }} as opened_on,
    tickets.opened_at,
    tickets.first_responded_at,
    tickets.solved_at,
    tickets.closed_at,
    {{ hours_between('tickets.opened_at', 'tickets.first_responded_at') }}
        as hours_to_first_response,
    {{ hours_between('tickets.opened_at', 'tickets.solved_at') }} as hours_to_solution,
    case
        when tickets.first_responded_at is not null
            then tickets.first_responded_at <= tickets.first_response_due_at
        when tickets.closed_at > tickets.first_response_due_at then false
        when tickets.closed_at is null
            and {{ shop_day('tickets.first_response_due_at') }} < {{ business_date() }} then false
    end as is_answered_in_time,
    case
        when tickets.solved_at is not null then tickets.solved_at <= tickets.resolution_due_at
        when tickets.closed_at > tickets.resolution_due_at then false
        when tickets.closed_at is null
            and {{ shop_day('tickets.resolution_due_at') }} < {{ business_date() }} then false
    end as is_solved_in_time,
    tickets.reopened,
    tickets.rating,
    cast(coalesce(messages.customer_messages, 0) as bigint) as customer_messages,
    cast(coalesce(messages.replies, 0) as bigint) as replies
from tickets
left join messages on tickets.id = messages.ticket_id
left join {{ ref('stg_orders') }} as orders
    on tickets.order_id = orders.id and orders._op <> 'D'
