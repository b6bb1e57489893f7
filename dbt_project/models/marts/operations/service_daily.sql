{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('day', ref('int_service_days')) }}"
    )
}}
-- Orders that are due, perfect or late are counted, never rates multiplied; a rate of several rows is
-- the quotient of their sums.
with days as (
    select day from {{ ref('int_service_days') }}
),

judged as (
    select
        service.*,
        case
            when service.deliver_by is null then 0
            when service.delivered_on is not null then 1
            when service.deliver_by < {{ business_date() }} then 1
            else 0
        end as is_due,
        case when service.filled_units is null then 0 else 1 end as is_known
    from {{ ref('order_service') }} as service
    inner join days on service.ordered_on = days.day
),

sums as (
    select
        ordered_on as day,
        warehouse,
        channel,
        count(*) as orders,
        sum(is_known) as known_orders,
        sum(case when is_filled_at_once then 1 else 0 end) as filled_orders,
        sum(line_count * is_known) as known_lines,
        sum(coalesce(filled_lines, 0)) as filled_lines,
        sum(units * is_known) as known_units,
        sum(coalesce(filled_units, 0)) as filled_units,
        sum(case when shipment_count > 0 then 1 else 0 end) as sent_orders,
        sum(case when is_split then 1 else 0 end) as split_orders,
        sum(is_due) as due_orders,
        sum(case when is_otif then 1 else 0 end) as otif_orders,
        sum(case when is_perfect then 1 else 0 end) as perfect_orders
    from judged
    group by ordered_on, warehouse, channel
)

select
    day,
    warehouse,
    channel,
    {%- for column in [
        'orders', 'known_orders', 'filled_orders', 'known_lines', 'filled_lines', 'known_units',
        'filled_units', 'sent_orders', 'split_orders', 'due_orders', 'otif_orders', 'perfect_orders'
    ] %}
    cast({{ column }} as bigint) as {{ column }},
    {%- endfor %}
    {{ rate('filled_units', 'known_units') }} as unit_fill_rate,
    {{ rate('filled_lines', 'known_lines') }} as line_fill_rate,
    {{ rate('filled_orders', 'known_orders') }} as order_fill_rate,
    {{ rate('split_orders', 'sent_orders') }} as split_rate,
    {{ rate('otif_orders', 'due_orders') }} as otif_rate,
    {{ rate('perfect_orders', 'due_orders') }} as perfect_order_rate
from sums
