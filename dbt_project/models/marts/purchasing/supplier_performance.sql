{{ config(materialized='table') }}
-- Purchase orders of the last 365 days. A line is due once its expected day is over or all of it
-- came; it is on time and in full when all of it came by that day.
with damages as (
    select
        purchase_order_line_id,
        sum(quantity) as received,
        sum(damaged) as damaged,
        sum(quantity * unit_cost_minor) as paid_minor
    from {{ ref('stg_receipt_lines') }}
    where _op <> 'D'
    group by purchase_order_line_id
),

lines as (
    select
        lines.*,
        coalesce(damages.received, 0) as counted,
        coalesce(damages.damaged, 0) as damaged,
        coalesce(damages.paid_minor, 0) as paid_minor,
        case
            when lines.outstanding = 0 or lines.expected_on < {{ business_date() }} then 1
            else 0
        end as is_due,
        {{ days_between('lines.ordered_on', 'lines.last_received_on') }} as lead_days
    from {{ ref('fct_purchase_order_lines') }} as lines
    left join damages on lines.purchase_order_line_id = damages.purchase_order_line_id
    where
        lines.status not in ('draft', 'cancelled')
        and lines.ordered_on > {{ add_days(business_date(), -365) }}
),

sums as (
    select
        supplier,
        max(supplier_name) as supplier_name,
        count(distinct purchase_order) as purchase_orders,
        sum(ordered) as ordered_units,
        sum(received) as received_units,
        sum(outstanding) as outstanding_units,
        sum(damaged) as damaged_units,
        sum(counted) as counted_units,
        sum(is_due) as due_lines,
        sum(ordered * is_due) as due_units,
        sum(case when received < ordered then received else ordered end * is_due) as filled_units,
        sum(case when last_received_on <= expected_on then is_due else 0 end) as on_time_lines,
        sum(case when received >= ordered then is_due else 0 end) as in_full_lines,
        sum(
            case when received >= ordered and last_received_on <= expected_on then is_due else 0 end
        ) as otif_lines,
        count(lead_days) as deliveries,
        sum(lead_days) as lead_days,
        sum(lead_days * lead_days) as lead_squares,
        sum(paid_minor - unit_cost * 100 * counted) as variance_minor
    from lines
    group by supplier
)

select
    supplier,
    supplier_name,
    {%- for column in [
        'purchase_orders', 'ordered_units', 'received_units', 'outstanding_units', 'damaged_units',
        'due_lines', 'on_time_lines', 'in_full_lines', 'otif_lines'
    ] %}
    cast({{ column }} as bigint) as {{ column }},
    {%- endfor %}
    {{ rate('on_time_lines', 'due_lines') }} as supplier_on_time_rate,
    {{ rate('filled_units', 'due_units') }} as supplier_fill_rate,
    {{ rate('otif_lines', 'due_lines') }} as supplier_otif_rate,
    {{ rate('damaged_units', 'counted_units') }} as damage_rate,
    {{ rate('lead_days', 'deliveries') }} as lead_time_mean_days,
    case
        when deliveries > 1
            then
                sqrt(
                    cast(deliveries * lead_squares - lead_days * lead_days as double)
                    / (deliveries * (deliveries - 1))
                )
    end as lead_time_deviation_days,
    {{ money('variance_minor') }} as cost_variance
from sums
