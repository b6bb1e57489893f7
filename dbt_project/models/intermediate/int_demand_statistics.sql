{{ config(materialized='table') }}
-- Mean and standard deviation of daily demand over 28 days, per warehouse and SKU. A day that ends
-- with no stock shows at most what could be sold, so it is left out; if every day is such a day,
-- the mean over all of them is the best lower bound there is.
with days as (
    select
        stock.day,
        stock.warehouse_id,
        stock.sku_id,
        stock.on_hand,
        coalesce(demand.units, 0) as units
    from {{ ref('int_stock_daily') }} as stock
    left join {{ ref('int_daily_demand') }} as demand
        on
            stock.day = demand.day
            and stock.warehouse_id = demand.warehouse_id
            and stock.sku_id = demand.sku_id
    where
        stock.day >= {{ add_days(business_date(), -28) }}
        and stock.day < {{ business_date() }}
)

select
    warehouse_id,
    sku_id,
    cast(count(case when on_hand > 0 then 1 end) as integer) as demand_days,
    cast(count(case when on_hand = 0 then 1 end) as integer) as stock_out_days,
    cast(coalesce(avg(case when on_hand > 0 then units end), avg(units)) as double)
        as average_daily_demand,
    cast(
        coalesce(stddev_samp(case when on_hand > 0 then units end), stddev_samp(units), 0)
        as double
    ) as demand_standard_deviation
from days
group by warehouse_id, sku_id
