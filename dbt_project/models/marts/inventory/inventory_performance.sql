{{ config(materialized='table') }}
-- What stock earned and cost over the 90 days before the business date, per warehouse and SKU; days
-- before its first move are no days on record. Ages are first in, first out, by what came in.
with shelves as (
    select
        warehouse_id,
        sku_id,
        day,
        opening,
        on_hand,
        shipped,
        on_hand - opening + shipped as came_in,
        {{ days_between('day', business_date()) }} as days_ago
    from {{ ref('int_stock_daily') }}
    where day >= {{ add_days(business_date(), -180) }} and day < {{ business_date() }}
),

sold as (
    select
        warehouse,
        sku_id,
        day,
        sum(units) as units,
        sum(net_sales) as net_sales,
        sum(cost) as cost,
        sum(gross_margin) as gross_margin,
        {{ days_between('day', business_date()) }} as days_ago
    from {{ ref('sku_sales_daily') }}
    where day >= {{ add_days(business_date(), -90) }} and day < {{ business_date() }}
    group by warehouse, sku_id, day
),

recorded as (
    select
        warehouse_id,
        sku_id,
        count(*) as days_on_record,
        count(case when on_hand = 0 then 1 end) as stock_out_days,
        sum(on_hand) as unit_days,
        sum(shipped) as shipped,
        sum(case when came_in > 0 then came_in else 0 end) as came_in,
        max(days_ago) as first_days_ago
    from shelves
    where days_ago <= 90
    group by warehouse_id, sku_id
),

opened as (
    select
        recorded.warehouse_id,
        recorded.sku_id,
        shelves.opening
    from recorded
    inner join shelves
        on
            recorded.warehouse_id = shelves.warehouse_id
            and recorded.sku_id = shelves.sku_id
            and recorded.first_days_ago = shelves.days_ago
),

sales as (
    select
        warehouse,
        sku_id,
        sum(net_sales) as net_sales,
        sum(cost) as cost,
        sum(gross_margin) as gross_margin
    from sold
    group by warehouse, sku_id
),

-- Twelve whole weeks; those without a sale count as nothing.
weeks as (
    select
        warehouse,
        sku_id,
        floor((days_ago - 1) / 7.0) as week,
        sum(units) as units
    from sold
    where days_ago <= 84
    group by warehouse, sku_id, floor((days_ago - 1) / 7.0)
),

variation as (
    select
        warehouse,
        sku_id,
        sum(units) as units,
        sum(units * units) as squares
    from weeks
    group by warehouse, sku_id
),

-- On a day that ended without stock, what customers would have ordered beyond what they did.
demand as (
    select
        shelves.warehouse_id,
        shelves.sku_id,
        shelves.on_hand,
        coalesce(sold.units, 0) as units,
        cast(
            sum(case when shelves.on_hand > 0 then coalesce(sold.units, 0) else 0 end) over (
                partition by shelves.warehouse_id, shelves.sku_id
            ) as double
        ) / nullif(
            count(case when shelves.on_hand > 0 then 1 end) over (
                partition by shelves.warehouse_id, shelves.sku_id
            ),
            0
        ) as daily_units
    from shelves
    inner join {{ ref('dim_warehouses') }} as warehouses
        on shelves.warehouse_id = warehouses.warehouse_id
    left join sold
        on
            warehouses.warehouse = sold.warehouse
            and shelves.sku_id = sold.sku_id
            and shelves.day = sold.day
    where shelves.days_ago <= 90
),

lost as (
    select
        warehouse_id,
        sku_id,
        -- Sums of whole numbers are exact in any order of the rows.
        max(daily_units) * count(case when on_hand = 0 and daily_units > units then 1 end)
        - sum(case when on_hand = 0 and daily_units > units then units else 0 end) as lost_units
    from demand
    group by warehouse_id, sku_id
),

arrivals as (
    select
        warehouse_id,
        sku_id,
        sum(case when came_in > 0 and days_ago <= 30 then came_in else 0 end) as within_30,
        sum(case when came_in > 0 and days_ago <= 90 then came_in else 0 end) as within_90,
        sum(case when came_in > 0 then came_in else 0 end) as within_180
    from shelves
    group by warehouse_id, sku_id
),

ranked as (
    select
        warehouse,
        sku_id,
        net_sales,
        sum(net_sales) over (
            partition by warehouse order by net_sales desc, sku_id asc
            rows between unbounded preceding and current row
        ) - net_sales as before_it,
        sum(net_sales) over (partition by warehouse) as of_all
    from sales
    where net_sales > 0
),

joined as (
    select
        health.*,
        skus.unit_price,
        recorded.days_on_record,
        recorded.stock_out_days as days_without_stock,
        opened.opening,
        recorded.came_in,
        recorded.shipped,
        cast(recorded.unit_days as double) / recorded.days_on_record as average_on_hand,
        cast(recorded.unit_days as double) / recorded.days_on_record * health.unit_cost
            as average_value,
        coalesce(sales.net_sales, 0) as net_sales,
        coalesce(sales.cost, 0) as cost,
        coalesce(sales.gross_margin, 0) as gross_margin,
        coalesce(lost.lost_units, 0) as lost_units,
        ranked.before_it / ranked.of_all as share_before_it,
        variation.units as weekly_units,
        variation.squares as weekly_squares,
        case
            when recorded.days_on_record >= 84 then 12
            else floor(recorded.days_on_record / 7.0)
        end as weeks_on_record,
        case
            when health.on_hand > arrivals.within_30 then arrivals.within_30
            when health.on_hand > 0 then health.on_hand
            else 0
        end as within_30,
        case
            when health.on_hand > arrivals.within_90 then arrivals.within_90
            when health.on_hand > 0 then health.on_hand
            else 0
        end as within_90,
        case
            when health.on_hand > arrivals.within_180 then arrivals.within_180
            when health.on_hand > 0 then health.on_hand
            else 0
        end as within_180
    from recorded
    inner join {{ ref('dim_warehouses') }} as warehouses
        on recorded.warehouse_id = warehouses.warehouse_id
    inner join {{ ref('inventory_health') }} as health
        on warehouses.warehouse = health.warehouse and recorded.sku_id = health.sku_id
    inner join {{ ref('dim_skus') }} as skus on recorded.sku_id = skus.sku_id
    inner join opened
        on recorded.warehouse_id = opened.warehouse_id and recorded.sku_id = opened.sku_id
    inner join arrivals
        on recorded.warehouse_id = arrivals.warehouse_id and recorded.sku_id = arrivals.sku_id
    left join lost on recorded.warehouse_id = lost.warehouse_id and recorded.sku_id = lost.sku_id
    left join sales on warehouses.warehouse = sales.warehouse and recorded.sku_id = sales.sku_id
    left join ranked on warehouses.warehouse = ranked.warehouse and recorded.sku_id = ranked.sku_id
    left join variation
        on warehouses.warehouse = variation.warehouse and recorded.sku_id = variation.sku_id
),

measured as (
    select
        *,
        case
            when
                weekly_units > 0
                and weeks_on_record >= 4
                and weekly_squares * weeks_on_record >= weekly_units * weekly_units
                then
                    sqrt(
                        cast(
                            weekly_squares * weeks_on_record - weekly_units * weekly_units as double
                        ) / (weeks_on_record * (weeks_on_record - 1))
                    ) * weeks_on_record / weekly_units
        end as demand_variation,
        case
            when status = 'excess' then on_hand - floor(60 * average_daily_demand) else 0
        end as excess_units
    from joined
)

select
    warehouse,
    sku_id,
    sku,
    category,
    supplier,
    case
        when share_before_it < 0.8 then 'A' when share_before_it < 0.95 then 'B' else 'C'
    end as abc_class,
    case
        when demand_variation <= 0.5 then 'X'
        when demand_variation <= 1 then 'Y'
        when demand_variation is not null then 'Z'
    end as xyz_class,
    cast(days_on_record as integer) as days_on_record,
    cast(days_without_stock as integer) as days_without_stock,
    average_on_hand,
    cast(average_value as decimal(18, 2)) as average_stock_value,
    cast(net_sales as decimal(18, 2)) as net_sales,
    cast(cost as decimal(18, 2)) as cost,
    cast(gross_margin as decimal(18, 2)) as gross_margin,
    cast(cost as double) / nullif(average_value, 0) * 365 / days_on_record as turns,
    cast(gross_margin as double) / nullif(average_value, 0) * 365 / days_on_record as gmroi,
    {{ rate('shipped', 'opening + came_in') }} as sell_through,
    cast(lost_units as double) as lost_units,
    cast(lost_units * unit_price as decimal(18, 2)) as lost_sales,
    demand_variation,
    cast(within_30 as bigint) as units_to_30_days,
    cast(within_90 - within_30 as bigint) as units_31_to_90_days,
    cast(within_180 - within_90 as bigint) as units_91_to_180_days,
    cast(on_hand - within_180 as bigint) as units_over_180_days,
    cast(excess_units as bigint) as excess_units,
    cast(excess_units * unit_cost as decimal(18, 2)) as excess_stock_value,
    cast(case when status = 'dead' then stock_value else 0 end as decimal(18, 2))
        as dead_stock_value
from measured
