{#- Money: minor units of the base currency to decimals, exactly. -#}
{% macro money(minor) -%}cast(({{ minor }}) * 0.01 as decimal(18, 2)){%- endmacro %}

{#-
    The share of a line's amount (minor units) that some units of its whole have, rounded down: what
    is not cancelled keeps it. The remainder is taken off first, so that the quotient is whole.
-#}
{% macro share_of(amount, units, whole) -%}
    {%- set product = '(' ~ amount ~ ') * (' ~ units ~ ')' -%}
    cast(
        round(
            ({{ product }} - mod(mod({{ product }}, {{ whole }}) + {{ whole }}, {{ whole }}))
            / {{ whole }}
        ) as bigint
    )
{%- endmacro %}

{#-
    Minor units of an order's currency as minor units of the base currency, which has two decimal
    places, at the order's own rate; halves are rounded away from zero. What has no rate was
    captured in the base currency.
-#}
{% macro base_minor(minor, order) -%}
    cast(
        round(
            cast({{ minor }} as decimal(16, 0))
            * coalesce(cast({{ order }}.exchange_rate as decimal(14, 8)), 1)
            * case {{ order }}.currency when 'JPY' then 100.0 when 'KWD' then 0.1 else 1.0 end
        ) as bigint
    )
{%- endmacro %}

{#- The last day of the daily marts: the run's business date, or the shop's today. -#}
{% macro business_date() -%}
    {%- if var('business_date') -%}
        cast('{{ var("business_date") }}' as date)
    {%- else -%}
        {{ shop_day('current_timestamp') }}
    {%- endif -%}
{%- endmacro %}

{#-
    That a moment lies on a day of the shop or later. Asked of a column of moments it is cheap: the
    first half is true of all such moments wherever the shop is, and lets old rows be skipped unread.
-#}
{% macro on_or_after(moment, day) -%}
    {{ moment }} >= cast({{ add_days(day, -1) }} as timestamp) at time zone 'UTC'
    and {{ shop_day(moment) }} >= {{ day }}
{%- endmacro %}

{#- A share of a whole as a double, empty where there is no whole. -#}
{% macro rate(part, whole) -%}
    cast({{ part }} as double) / nullif(cast({{ whole }} as double), 0)
{%- endmacro %}

{#- The first day of a day's month. -#}
{% macro first_of_month(day) -%}
    {{ add_days(day, '1 - extract(day from ' ~ day ~ ')') }}
{%- endmacro %}
