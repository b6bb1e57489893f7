{{ config(materialized='table') }}
-- Mean and standard deviation of daily demand over 28 days, per warehouse and SKU. A day that ends
-- with no stock shows at most what could be sold, so it is left out; if every day is such a day,
-- the mean over all of them is the best lower bound there is.
with stocked as (
    select
        day,
        warehouse_id,
        sku_id,
        on_hand
    from {{ ref('int_stock_daily') }}
    where day >= {{ add_days(business_date(), -28) }} and day < {{ business_date() }}
),

-- Ordered from a warehouse that never had any: no stock on every day since the first order.
never_stocked as (
    select
        demand.warehouse_id,
        demand.sku_id,
        min(demand.day) as since
    from {{ ref('int_daily_demand') }} as demand
    left join stocked
        on demand.warehouse_id = stocked.warehouse_id and demand.sku_id = stocked.sku_id
    where stocked.day is null
    group by demand.warehouse_id, demand.sku_id
),

shelves as (
    select * from stocked
    union all
    select
        calendar.day,
        never_stocked.warehouse_id,
        never_stocked.sku_id,
        0 as on_hand
    from never_stocked
    inner join {{ ref('int_calendar') }} as calendar
        on never_stocked.since <= calendar.day and calendar.day < {{ business_date() }}
),

days as (
    select
        shelves.day,
        shelves.warehouse_id,
        shelves.sku_id,
        shelves.on_hand,
        coalesce(demand.units, 0) as units,
        max(case when shelves.on_hand > 0 then 1 else 0 end) over (
            partition by shelves.warehouse_id, shelves.sku_id
        ) as has_days_with_stock
    from shelves
    left join {{ ref('int_daily_demand') }} as demand
        on
            shelves.day = demand.day
            and shelves.warehouse_id = demand.warehouse_id
            and shelves.sku_id = demand.sku_id
),

-- Sums of whole numbers are exact in any order of the rows; a running variance is not.
sums as (
    select
        warehouse_id,
        sku_id,
        count(case when on_hand > 0 then 1 end) as demand_days,
        count(case when on_hand = 0 then 1 end) as stock_out_days,
        count(case when on_hand > 0 or has_days_with_stock = 0 then 1 end) as days,
        sum(case when on_hand > 0 or has_days_with_stock = 0 then units end) as units,
        sum(case when on_hand > 0 or has_days_with_stock = 0 then units * units end) as squares
    from days
    group by warehouse_id, sku_id
)

select
    warehouse_id,
    sku_id,
    cast(demand_days as integer) as demand_days,
    cast(stock_out_days as integer) as stock_out_days,
    cast(units as double) / days as average_daily_demand,
    case
        when days > 1
            then sqrt(cast(days * squares - units * units as double) / (days * (days - 1)))
        else 0
    end as demand_standard_deviation
from sums
