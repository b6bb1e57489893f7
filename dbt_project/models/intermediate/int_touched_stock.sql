{{ config(materialized='table') }}
-- From which day on the daily stock of a warehouse and SKU has to be done again: its earliest move
-- that is new or lies behind the days that are there, or the first day that is not there yet.
{% set have = adapter.get_relation(target.database, 'intermediate', 'int_stock_daily') %}
{% set known = have is not none and not flags.FULL_REFRESH %}
with moved as (
    select
        warehouse_id,
        sku_id,
        min(moved_on) as from_day
    from {{ ref('int_stock_moves') }}
    where _file > '{{ processed_up_to() }}'
    group by warehouse_id, sku_id
){% if known %},

-- Moves dated after the business date of the build that brought them.
waiting as (
    select
        warehouse_id,
        sku_id,
        min(moved_on) as from_day
    from {{ ref('int_stock_moves') }}
    where moved_on > (select max(built.day) from {{ have }} as built)
    group by warehouse_id, sku_id
),

kept as (
    select
        warehouse_id,
        sku_id,
        {{ add_days('max(day)', 1) }} as from_day
    from {{ have }}
    where day <= {{ business_date() }}
    group by warehouse_id, sku_id
),

all_reasons as (
    select * from moved
    union all
    select * from waiting
    union all
    select * from kept
)

select
    warehouse_id,
    sku_id,
    min(from_day) as from_day
from all_reasons
group by warehouse_id, sku_id
having min(from_day) <= {{ business_date() }}
{% else %}

select * from moved
{% endif %}
