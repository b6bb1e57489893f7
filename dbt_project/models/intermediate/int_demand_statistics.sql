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
        coalesce(demand.units, 0) as units,
        max(case when stock.on_hand > 0 then 1 else 0 end) over (
            partition by stock.warehouse_id, stock.sku_id
        ) as has_days_with_stock
    from {{ ref('int_stock_daily') }} as stock
    left join {{ ref('int_daily_demand') }} as demand
        on
            stock.day = demand.day
            and stock.warehouse_id = demand.warehouse_id
            and stock.sku_id = demand.sku_id
    where
        stock.day >= {{ add_days(business_date(), -28) }}
        and stock.day < {{ business_date() }}
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
