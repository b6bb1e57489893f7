{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('order_id', ref('int_touched_orders')) }}"
    )
}}
with touched as (
    select order_id from {{ ref('int_touched_orders') }}
),

shipments as (
    select shipments.*
    from {{ ref('stg_shipments') }} as shipments
    inner join touched on shipments.order_id = touched.order_id
    where shipments._op <> 'D'
),

lines as (
    select
        lines.shipment_id,
        count(*) as line_count,
        sum(lines.quantity) as units
    from {{ ref('stg_shipment_lines') }} as lines
    inner join shipments on lines.shipment_id = shipments.id
    where lines._op <> 'D'
    group by lines.shipment_id
),

picks as (
    select
        picks.shipment_id,
        count(*) as pick_count,
        sum(picks.quantity - picks.picked) as short_units
    from {{ ref('stg_picks') }} as picks
    inner join shipments on picks.shipment_id = shipments.id
    where picks._op <> 'D' and picks.picked is not null
    group by picks.shipment_id
)

select
    shipments.id as shipment_id,
    shipments.number as shipment_number,
    shipments.order_id,
    orders.number as order_number,
    orders.channel,
    warehouses.warehouse,
    shipments.status,
    shipments.carrier,
    shipments.allocated_at,
    shipments.picked_at,
    shipments.packed_at,
    shipments.shipped_at,
    shipments.delivered_at,
    shipments.failed_at,
    {{ shop_day('shipments.shipped_at') }} as shipped_on,
    cast(coalesce(lines.line_count, 0) as integer) as line_count,
    cast(coalesce(lines.units, 0) as bigint) as units,
    cast(coalesce(picks.pick_count, 0) as integer) as pick_count,
    cast(coalesce(picks.short_units, 0) as bigint) as short_units,
    {{ hours_between('shipments.allocated_at', 'shipments.picked_at') }} as hours_to_pick,
    {{ hours_between('shipments.picked_at', 'shipments.packed_at') }} as hours_to_pack,
    {{ hours_between('shipments.allocated_at', 'shipments.shipped_at') }} as hours_to_dispatch,
    {{ hours_between('shipments.shipped_at', 'shipments.delivered_at') }} as hours_in_transit
from shipments
inner join {{ ref('stg_orders') }} as orders on shipments.order_id = orders.id and orders._op <> 'D'
inner join {{ ref('dim_warehouses') }} as warehouses
    on shipments.warehouse_id = warehouses.warehouse_id
left join lines on shipments.id = lines.shipment_id
left join picks on shipments.id = picks.shipment_id
