{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget_finished_days() }}"
    )
}}
-- Days whose daily sums this build has to do again: those of the touched orders, their refunds and
-- returns, as they are now and, before the facts are renewed, as they were. They stay until a whole build
-- has gone through: after one that stopped half way the renewed facts no longer tell how they were.
{% set lines = adapter.get_relation(target.database, 'marts', 'fct_order_lines') %}
{% set returns = adapter.get_relation(target.database, 'marts', 'fct_returns') %}
with touched as (
    select order_id from {{ ref('int_touched_orders') }}
),

days as (
    select {{ shop_day('orders.placed_at') }} as day
    from {{ ref('stg_orders') }} as orders
    inner join touched on orders.id = touched.order_id
    union distinct
    select {{ shop_day('refunds.refunded_at') }} as day
    from {{ ref('stg_refunds') }} as refunds
    inner join touched on refunds.order_id = touched.order_id
    union distinct
    select {{ shop_day('returns.resolved_at') }} as day
    from {{ ref('stg_returns') }} as returns
    inner join touched on returns.order_id = touched.order_id
    {% if lines is not none and not flags.FULL_REFRESH %}
    union distinct
    select was.ordered_on as day
    from {{ lines }} as was
    inner join touched on was.order_id = touched.order_id
    {% endif %}
    {% if returns is not none and not flags.FULL_REFRESH %}
    union distinct
    select was.refunded_on as day
    from {{ returns }} as was
    inner join touched on was.order_id = touched.order_id
    {% endif %}
)

select
    day,
    '{{ processed_up_to() }}' as since
from days
where day is not null
