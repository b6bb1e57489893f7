{{ config(materialized='table') }}
-- What is on hand and allocated is summed from moves and shipments, not read from the levels, which
-- may already count what has not landed: all marts show one moment.
with pairs as (
    select warehouse_id, sku_id from {{ ref('stg_stock_levels') }} where _op <> 'D'
    union distinct
    select warehouse_id, sku_id from {{ ref('int_stock_on_hand') }}
    union distinct
    select warehouse_id, sku_id from {{ ref('int_allocations') }}
    union distinct
    select warehouse_id, sku_id from {{ ref('int_backorders') }}
    union distinct
    select warehouse_id, sku_id from {{ ref('int_open_purchase_orders') }}
),

last_sales as (
    select
        warehouse,
        sku_id,
        max(day) as last_sold_on
    from {{ ref('sku_sales_daily') }}
    where units > 0
    group by warehouse, sku_id
),

measured as (
    select
        warehouses.warehouse,
        skus.*,
        coalesce(stock.on_hand, 0) as on_hand,
        coalesce(allocations.allocated, 0) as allocated,
        coalesce(stock.on_hand, 0) - coalesce(allocations.allocated, 0) as available,
        coalesce(backorders.backordered, 0) as backordered,
        coalesce(incoming.on_order, 0) as on_order,
        incoming.next_expected_on,
        coalesce(demand.average_daily_demand, 0) as average_daily_demand,
        coalesce(demand.demand_standard_deviation, 0) as demand_standard_deviation,
        coalesce(demand.demand_days, 0) as demand_days,
        coalesce(demand.stock_out_days, 0) as stock_out_days,
        last_sales.last_sold_on
    from pairs
    inner join {{ ref('dim_skus') }} as skus on pairs.sku_id = skus.sku_id
    inner join {{ ref('dim_warehouses') }} as warehouses
        on pairs.warehouse_id = warehouses.warehouse_id
    left join {{ ref('int_stock_on_hand') }} as stock
        on pairs.warehouse_id = stock.warehouse_id and pairs.sku_id = stock.sku_id
    left join {{ ref('int_allocations') }} as allocations
        on pairs.warehouse_id = allocations.warehouse_id and pairs.sku_id = allocations.sku_id
    left join {{ ref('int_backorders') }} as backorders
        on pairs.warehouse_id = backorders.warehouse_id and pairs.sku_id = backorders.sku_id
    left join {{ ref('int_open_purchase_orders') }} as incoming
        on pairs.warehouse_id = incoming.warehouse_id and pairs.sku_id = incoming.sku_id
    left join {{ ref('int_demand_statistics') }} as demand
        on pairs.warehouse_id = demand.warehouse_id and pairs.sku_id = demand.sku_id
    left join last_sales
        on warehouses.warehouse = last_sales.warehouse and pairs.sku_id = last_sales.sku_id
),

covered as (
    select
        *,
        case when average_daily_demand > 0 then available / average_daily_demand end as cover_days
    from measured
)

select
    warehouse,
    sku_id,
    sku,
    sku_name,
    department,
    category,
    supplier,
    case
        when on_hand <= 0 then 'stocked_out'
        when average_daily_demand = 0 then 'dead'
        when cover_days < coalesce(lead_time_days, 0) then 'low'
        when cover_days > 60 then 'excess'
        else 'healthy'
    end as status,
    on_hand,
    allocated,
    available,
    backordered,
    on_order,
    demand_days,
    stock_out_days,
    average_daily_demand,
    demand_standard_deviation,
    cover_days,
    unit_cost,
    cast(on_hand * unit_cost as decimal(18, 2)) as stock_value,
    next_expected_on,
    last_sold_on
from covered
