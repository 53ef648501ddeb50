## What the queue works on: imports, tags, deletions, templates, suppressions, people, statistics

# 列表与筛选
filter-without = 移除 { $value }
bad-filter = 本列表没有“{ $value }”这一筛选条件。请使用括号中的条件之一。
bad-day = “{ $value }”不是日期。请写成 2026-11-30 的形式。
bad-creator = 没有邮箱为“{ $value }”的用户。请填写邮箱、编号，或 creator:me。
batches-filter-help = 例如：status:failed type:send creator:me text:"夏季促销" after:2026-11-01 before:2026-12-01（按 UTC 日期）
creator = 创建人
user-number = 用户 { $value }
act = 操作
select = 选择
select-batch = 选择批次 { $value }

# 多个批次
chosen = 已选：
selected-pause = 暂停所选批次
selected-resume = 继续所选批次
selected-cancel = 取消所选批次…
selected-none = 未选择任何项，或选择过多。请选择 1 到 { $value } 项。
selected-ended = 这些批次都已结束，没有可取消的内容。
selected-outcome = 结果
selected-done-pause = 已暂停
selected-done-resume = 已继续
selected-done-cancel = 10 秒后取消
selected-done-keep = 未取消
selected-count = { $count ->
   *[other] （{ $shown } 个批次）
}
ask-cancel-many = { $count ->
   *[other] 取消 { $shown } 个批次？
}
act-cancel-many = { $count ->
   *[other] 10 秒后取消 { $shown } 个批次
}
ask-keep-many = 不取消

# 可以撤销的操作
ask-cancel-flight = { $count ->
    [0] 没有正在发送的收件人。
   *[other] { $shown } 个正在发送，会完成并计入结果。
}
cancel-at = 批次将被取消，时间
cancel-keep = 撤销取消
done-kept = 批次继续进行，没有取消。
ask-retry-cause = { $count ->
   *[other] 重试因 { $value } 失败的 { $shown } 个收件人？
}

# 为什么还没有发送？
hold-asked-again = 上一次发送的结果未知。将以同一编号再次询问网关，时间
hold-in-doubt = 上一次发送的结果未知，本批次把它留给人工处理。重试本批次，网关会按同一编号给出结果。
hold-suppressed = 联系人不接收群发消息，将被跳过。
hold-no-number = 联系人没有电话号码，将会失败。
hold-no-contact = 没有这个联系人，将会失败。
hold-at-work = 工作进程 { $value } 正在处理它所在的部分，开始于
hold-no-worker = 没有工作进程处理它所在的部分：工作进程是否在运行？应处理的时间
hold-job-retried = 它所在部分的任务失败，再次尝试的时间
hold-other-release = 它所在的部分只有其他版本能处理。请更新工作进程，之后会自动继续。
keys-select = 选择该行
keys-acts = 转到本页的操作

# 新建
new = 新建
new-send-what = 向多个联系人发送文本或模板，立即或定时。
new-import = 导入联系人
new-import-what = 从 CSV 或 XLSX 文件导入：先看列和按行的错误，再导入。
new-tags = 修改标签
new-tags-what = 为多个联系人添加、移除或设置标签。
new-delete = 删除联系人
new-delete-what = 个人信息会被删除，统计数字保留。
needs-permission = 需要权限
form-wrong = 尚未执行任何操作。请先更正：
who-batch = 某批次中结果为以下的收件人
who-outcome = 结果
bad-batch = “{ $value }”不是批次，或没有选择结果。

# 标签与删除
operation-add = 添加这些标签
operation-remove = 移除这些标签
operation-set = 设为这些标签，其他标签移除
tags-these = 标签，用逗号分隔
forecast-tags = { $count ->
   *[other] 将修改 { $shown } 个联系人
}
forecast-delete = { $count ->
   *[other] 将删除 { $shown } 个联系人
}
set-total = 指定的联系人
set-unchanged = 无需变动
set-before = 修改前的标签
set-after = 修改后的标签
set-nothing = 不会有任何变动。请选择其他联系人或标签。
samples = 其中一部分
act-tags = { $count ->
   *[other] 修改 { $shown } 个联系人的标签
}
act-delete = { $count ->
   *[other] 永久删除 { $shown } 个联系人
}
delete-what = 姓名、号码、属性、标签和消息内容将被删除且无法恢复。消息数量的统计保留；不接收群发的号码仍然不会收到群发。
delete-type = { $count ->
   *[other] 要删除 { $shown } 个联系人，请输入该数量：
}
delete-typed = 输入的数量不是 { $value }，即当前将删除的数量。请核对后重新输入。
delete-undo = 10 秒后开始，在此之前可以撤销。

# 导入
import-file = 文件
import-choose = CSV 文件或 XLSX 工作簿，选择或拖放到此处
import-help = 每行一个联系人，其中一列是电话号码。最多 1,000,000 行、128 MB。
import-with = 附加信息
import-tags = 所有联系人的标签，用逗号分隔
import-source = 联系人来源
import-country = 没有国家代码的号码所属国家（两个字母）
import-merges = 已有联系人也采用文件中的姓名和属性
import-more = 编码与工作表
import-encoding = CSV 文件的编码，留空则自动识别
import-sheet = 工作簿的工作表，留空则为第一个
import-check = 检查文件
import-check-again = 重新检查
import-plan = { $count ->
   *[other] 已读取 { $shown } 行
}
import-create = 新联系人
import-merge = 合并到已有联系人
import-skip = 已存在，跳过
import-fail = 将会失败
import-warn = 号码不在已知号段
import-columns = 每列的内容
import-columns-help = 如有不对，请修改后重新检查。
import-read-as = 编码：{ $value }。
import-sheet-read = 工作表 { $value }
field-ignore = 不读取
field-phone = 电话号码
field-name = 姓名
field-tags = 标签
field-source = 来源
field-own = 属性 { $value }
import-rows = 前几行
import-becomes = 结果
line = 行
values = 属性
cells = 单元格
import-errors = { $count ->
   *[other] { $shown } 行将会失败
}
row-error-too-long = { $first }超过 { $second } 个字符
row-error-nul-character = { $first }含有 NUL 字符
row-error-bad-tag = 有标签超过 { $first } 个字符，或含有 NUL 字符
row-error-too-many-tags = 标签超过 { $first } 个
row-error-too-many-attributes = 属性超过 { $first } 个
row-error-bad-attribute = 有属性超过 { $first } 个字符，或含有 NUL 字符
row-error-too-many-cells = 该行有 { $first } 个单元格，而文件只有 { $second } 列
row-error-no-phone-cell = 没有电话号码的单元格
row-error-too-many-rows = 超过 { $first } 行；其余未读取
row-error-unclosed-quote = 引号没有结束
row-error-line-too-long = 该行超过 { $first } KiB
row-error-encoding = 不是 { $first } 文本；请将文件另存为 UTF-8，或指定编码
row-error-unreadable = 无法继续读取文件
row-field-name = 姓名
row-field-source = 来源
import-errors-file = 下载所有将会失败的行
act-import = { $count ->
   *[other] 导入 { $shown } 行
}
import-no-script = 未启用脚本时，每次提交前都需要重新选择文件。
import-no-file = 没有选择文件。请选择 CSV 或 XLSX 文件。{ $value }
import-large = 文件大于 { $value } MB，请拆分。
bad-country = “{ $value }”不是国家代码。请填写两个字母，例如 MY。
bad-encoding = “{ $value }”不是编码。请填写 utf-8 或 gb18030 等，或留空。

# 模板
templates = 模板
template-new = 新建模板
templates-first = 还没有模板。模板用于保存反复发送的文本。
templates-count = { $count ->
   *[other] { $shown } 个模板
}
changed = 修改时间
earlier = 上一页
template-name-long = 名称为空或过长，最多 { $value } 个字符。
template-taken = 已有名为“{ $value }”的模板，请换一个名称。
template-shown = 收件人看到的内容
template-known = 名为 Mei Ling 的收件人
template-unknown = 没有姓名的收件人
act-keep-template = 保存模板
ask-delete = 删除…
ask-delete-template = 删除模板“{ $value }”？
ask-delete-template-what = 已用它创建的批次保留其文本。
act-delete-template = 删除模板
done-kept-template = 模板已保存。
done-deleted-template = 模板已删除。

# 退订
suppressions = 退订名单
suppressions-what = 这些号码不接收群发消息。批次会跳过它们，人工回复仍可送达。
suppressions-ended = 包括已结束的
suppressions-first = 还没有人退订。回复 STOP 等退订词的人会自动出现在这里。
suppressions-none = 该号码没有退订。
since = 开始时间
until = 结束时间
reason-word = 回复了
reason-user = 由用户操作
reason-network = 由网络上报
reason-merged = 两个联系人合并
suppress = 添加号码
suppress-who = 不再接收群发消息的号码
suppress-numbers = 含国家代码的电话号码，每行一个，最多 500 个
act-suppress = 停止向这些号码群发
ask-unsuppress-button = 恢复群发…
ask-unsuppress = 恢复向 { $value } 群发消息？
ask-unsuppress-what = 仅在对方要求时操作。记录会保留何时由谁结束。
act-unsuppress = 恢复群发
done-suppressed = 这些号码不再接收群发消息。
done-unsuppressed = 该号码恢复接收群发消息。
bad-number = 无法识别号码：{ $value }

# 审计
audit = 审计
audit-filter-help = 例如：action:batch action:batch:cancel creator:me resource:12 after:2026-11-01 before:2026-12-01（按 UTC 日期）
audit-none = 没有符合条件的记录。
audit-what = 操作
audit-with = 对象
audit-from = 来源
who = 操作人
export-csv = 下载 CSV
batch-history = 历史
history-none = 还没有人对它进行操作。
actor-user = 用户
actor-anonymous = 未登录者
actor-gateway = 客户（经网关）
actor-system = 系统
did-batch-create = 已接收
did-batch-cancel = 已取消
did-batch-cancel-ask = 将在 10 秒后取消
did-batch-keep = 撤销取消
did-batch-pause = 已暂停
did-batch-resume = 已继续
did-batch-update = 修改速度、延迟或时间
did-batch-retry = 重试失败的收件人

# 统计
statistics = 统计
statistics-filter-help = 例如：type:send status:failed days:90
statistics-processed = 已处理的收件人
statistics-rate = 成功率
statistics-types = 按类型
statistics-statuses = 按状态
statistics-days = { $count ->
   *[other] 最近 { $shown } 天
}
statistics-plot = 按批次接收日期（UTC）统计的成功与失败的收件人
statistics-most = { $count ->
   *[other] 每天最多 { $shown } 个收件人
}
plot-table = 以表格显示
day = 日期
bad-days = “{ $value }”不是天数。请填写 1 到 366。

# 用户
users = 用户
user-once = { $value } 的这个密码只能登录一次，且仅在此显示一次：
user-last = 上次登录
user-blocked = 已停用
user-must-change = 尚未修改初始密码
user-role-of = { $value } 的角色
user-new = 新用户
user-new-what = 新用户会得到一个只能登录一次的密码，登录后自行设置密码。
user-name = 姓名为空或过长，最多 { $value } 个字符。
user-email = “{ $value }”不是邮箱地址。
user-taken = 邮箱“{ $value }”已被使用。
users-own = 不能取消自己的权限，请联系其他管理员。
act-role = 修改角色
act-block = 停用
act-unblock = 恢复
act-one-time = 新的一次性密码
act-user = 创建用户
done-user-changed = 用户已修改。
role-admin = 管理员
role-supervisor = 主管
role-agent = 客服
role-guest = 访客
failed-rows-file = 下载失败的行及原因
trail = 群发消息记录
trail-none = 该号码从未退订。
trail-began = 从此不再接收
trail-ended = 恢复接收
unmask-why = 查看完整号码请说明原因，该操作会记入审计日志
act-unmask = 显示号码
unmask-reason = 请说明原因，最多 { $value } 个字符。
