{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget_finished_days() }}"
    )
}}
-- Days whose sums of tickets and feedback this build has to do again: those of the touched ones, as they
-- are now and, before the facts are renewed, as they were. They stay until a whole build has gone
-- through, as in int_touched_days.
{% set tickets = adapter.get_relation(target.database, 'marts', 'fct_tickets') %}
{% set feedback = adapter.get_relation(target.database, 'marts', 'fct_feedback') %}
with days as (
    select {{ shop_day('tickets.opened_at') }} as day
    from {{ ref('stg_tickets') }} as tickets
    inner join {{ ref('int_touched_tickets') }} as touched on tickets.id = touched.ticket_id
    union distinct
    select {{ shop_day('feedback.given_at') }} as day
    from {{ ref('stg_feedback') }} as feedback
    inner join {{ ref('int_touched_orders') }} as touched on feedback.order_id = touched.order_id
    {% if tickets is not none and not flags.FULL_REFRESH %}
    union distinct
    select was.opened_on as day
    from {{ tickets }} as was
    inner join {{ ref('int_touched_tickets') }} as touched on was.ticket_id = touched.ticket_id
    {% endif %}
    {% if feedback is not none and not flags.FULL_REFRESH %}
    union distinct
    select was.given_on as day
    from {{ feedback }} as was
    inner join {{ ref('int_touched_orders') }} as touched on was.order_id = touched.order_id
    {% endif %}
)

select
    day,
    '{{ processed_up_to() }}' as since
from days
where day is not null
