{{ config(materialized='table') }}
-- Days whose daily sums this build has to do again: those of the touched orders and their refunds,
-- as they are now and, before the facts are renewed, as they were.
{% set lines = adapter.get_relation(target.database, 'marts', 'fct_order_lines') %}
{% set returns = adapter.get_relation(target.database, 'marts', 'fct_returns') %}
with touched as (
    select order_id from {{ ref('int_touched_orders') }}
),

days as (
    select {{ shop_day('orders.placed_at') }} as day
    from {{ ref('stg_orders') }} as orders
    inner join touched on orders.id = touched.order_id
    union
    select {{ shop_day('refunds.refunded_at') }} as day
    from {{ ref('stg_refunds') }} as refunds
    inner join touched on refunds.order_id = touched.order_id
    {% if lines is not none and not flags.FULL_REFRESH %}
    union
    select was.ordered_on as day
    from {{ lines }} as was
    inner join touched on was.order_id = touched.order_id
    {% endif %}
    {% if returns is not none and not flags.FULL_REFRESH %}
    union
    select was.refunded_on as day
    from {{ returns }} as was
    inner join touched on was.order_id = touched.order_id
    {% endif %}
)

select day
from days
where day is not null
