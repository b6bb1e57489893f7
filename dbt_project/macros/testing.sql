{#- By which key a model forgets rows before it brings them anew, and what touches these; or none. -#}
{% macro forgets(name) -%}
    {%- set told = namespace(by=none) -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.alias == name -%}
        {%- for hook in node.config['pre-hook'] -%}
            {%- set told.by = modules.re.search("forget\\('(\\w+)', ref\\('(\\w+)'\\)\\)", hook.sql) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(told.by.groups() if told.by else none) }}
{%- endmacro %}

{#-
    Of a mart that is made by increments the rows that this build brought, where the run asks for no
    more (`test_rows: touched`, after a build that tested all on the same day); else all of it.

    A rule that holds row by row stays true of what no build touches. What breaks without a build is
    found by the first build of the next day.
-#}
{% macro brought(relation) -%}
    {%- set by = forgets(relation.identifier) if execute and var('test_rows') == 'touched' else none -%}
    {%- if by is none -%}
        {{ return(relation) }}
    {%- endif -%}
    {%- set key, touched = by -%}
    {{ return('(select * from ' ~ relation ~ ' where ' ~ key ~ ' in (select ' ~ key ~ ' from '
        ~ relation.incorporate(path={'schema': 'intermediate', 'identifier': touched})
        ~ ')) as ' ~ relation.identifier) }}
{%- endmacro %}

{#-
    What a generic test of a model looks at, in place of dbt's own macro. A row that was brought may
    be alike to one that was not: a test of uniqueness looks at all that have what a brought one has.
    And rows may lose what they point to when that is made as a whole: then all are looked at.
-#}
{% macro duckdb__get_where_subquery(relation) -%}
    {%- set rows = brought(relation) -%}
    {%- if rows is string -%}
        {%- set test = model.test_metadata -%}
        {%- if test.name in ('unique', 'unique_together') -%}
            {%- set columns = test.kwargs.columns or [test.kwargs.column_name] -%}
            {%- set names = columns | join(', ') -%}
            {%- set rows = '(select * from ' ~ relation ~ ' where (' ~ names ~ ') in (select ('
                ~ names ~ ') from ' ~ rows ~ ')) as ' ~ relation.identifier -%}
        {%- elif test.name == 'relationships' -%}
            {%- set to = modules.re.search("ref\\('(\\w+)'\\)", test.kwargs.to) -%}
            {%- if to is none or forgets(to.group(1)) is none -%}
                {%- set rows = relation -%}
            {%- endif -%}
        {%- endif -%}
    {%- endif -%}
    {%- set where = config.get('where', '') -%}
    {%- if where or rows is string -%}
        {{ return('(select * from ' ~ rows ~ ' where ' ~ (where or 'true') ~ ') as dbt_subquery') }}
    {%- endif -%}
    {{ return(relation) }}
{%- endmacro %}
