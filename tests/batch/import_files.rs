//! Imports of what people really have: numbers as they are copied, files as spreadsheets write them.

use crate::setup::{Setup, accepted, on_both, text};
use serde_json::{Value, json};
use std::rc::Rc;

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

async fn post(s: &Setup, query: &str, kind: &str, body: impl Into<Vec<u8>>) -> support::Response {
    let path = format!("/batch/import{query}");
    let request = s.admin.request(support::Method::POST, &path).header("content-type", kind).body(body.into());
    s.admin.send(request).await
}

/// Imports a file and returns the batch at its end, and its items.
async fn import(s: &Setup, query: &str, kind: &str, body: impl Into<Vec<u8>>) -> (Value, Vec<Value>) {
    let done = s.ended(&accepted(post(s, query, kind, body).await.expect(202))).await;
    let items = s.items(&text(&done["id"])).await;
    (done, items)
}

fn phones(items: &[Value]) -> Vec<(String, &Value)> {
    items.iter().map(|item| (text(&item["phone"]), &item["status"])).collect()
}

on_both!(numbers_are_read_as_they_are_copied_and_never_made_up () |s: Rc<Setup>| Box::pin(async move {
    let csv = "phone,name\n\u{202a}+60 12\u{2011}345\u{a0}6789\u{202c},a\n\u{ff0b}\u{ff16}\u{ff10}123456780,b\n'+60123456781,c\n\
               62812345678.0,d\n6.28123E+11,e\n60123456782 / 60123456783,f\n+553187654321,g\n13802345678,h\n";
    let plan = post(&s, "?dryRun=true", "text/csv", csv).await.expect(200)["data"].clone();
    assert_eq!(plan["failReasons"], json!({ "phone_fraction": 1, "phone_lost_digits": 1, "phone_two_numbers": 1, "phone_needs_country": 1 }));
    assert_eq!((&plan["warningCount"], &plan["createCount"], &plan["failCount"]), (&json!(1), &json!(4), &json!(4)));
    let shown = |row: &Value| json!([row["line"], row["phone"], row["country"], row["warning"]]);
    let rows: Vec<Value> = plan["rows"].as_array().expect("rows").iter().map(shown).collect();
    assert_eq!(rows, [
        json!([2, "60123456789", "MY", null]), json!([3, "60123456780", "MY", null]), json!([4, "60123456781", "MY", null]),
        json!([8, "553187654321", "BR", "unassigned_range"]),
    ]);
    assert_eq!(plan["rows"][2]["input"], "+60123456781");
    let errors: Vec<Value> = plan["errors"].as_array().expect("errors").iter().map(|e| json!([e["line"], e["input"], e["cells"][1]])).collect();
    assert_eq!(errors, [
        json!([5, "62812345678.0", "d"]), json!([6, "6.28123E+11", "e"]), json!([7, "60123456782 / 60123456783", "f"]), json!([9, "13802345678", "h"]),
    ]);
    let (done, items) = import(&s, "", "text/csv", csv).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(4), &json!(4)));
    assert_eq!(items[6]["warning"], "unassigned_range");
    assert_eq!(items[0]["warning"], Value::Null);
    assert!(text(&items[7]["errorMessage"]).contains("defaultCountry"), "{}", items[7]);
    s.audited().await;
}));

on_both!(national_numbers_are_read_in_the_country_that_is_given (("PACELINE_DEFAULT_COUNTRY", "MY")) |s: Rc<Setup>| Box::pin(async move {
    let csv = "手机号,姓名\n13802345678,王\n+60123456789,Ann\n";
    let plan = post(&s, "?dryRun=true&defaultCountry=cn", "text/csv", csv).await.expect(200)["data"].clone();
    assert_eq!((&plan["rows"][0]["phone"], &plan["rows"][0]["country"]), (&json!("8613802345678"), &json!("CN")));
    assert_eq!((&plan["rows"][1]["phone"], &plan["defaultCountry"]), (&json!("60123456789"), &json!("CN")));
    let (_, items) = import(&s, "?defaultCountry=CN", "text/csv", csv).await;
    assert_eq!(items[0]["phone"], "8613802345678");
    // In a JSON import's body; else as it is configured.
    let body = json!({ "contacts": [{ "phoneE164": "0171 1234567" }], "defaultCountry": "DE" });
    let done = s.ended(&accepted(s.admin.post("/batch/import", &body).await.expect(202))).await;
    assert_eq!(s.items(&text(&done["id"])).await[0]["phone"], "491711234567");
    assert_eq!(done["config"]["defaultCountry"], "DE");
    let body = json!({ "contacts": [{ "phoneE164": "012-345 6780" }] });
    let done = s.ended(&accepted(s.admin.post("/batch/import", &body).await.expect(202))).await;
    assert_eq!(s.items(&text(&done["id"])).await[0]["phone"], "60123456780");
    // The same reader elsewhere.
    let made = s.admin.post("/customers", &json!({ "name": "Bo", "phone": "012-345 6781" })).await.expect(201);
    assert_eq!(made["phone"], "60123456781");
    let stopped = s.admin.post("/suppressions", &json!({ "phones": ["\u{202a}012-345 6782\u{202c}"] })).await.expect(200);
    assert_eq!(stopped["data"][0]["phone"], "60123456782");
    for (query, field) in [("?defaultCountry=Malaysia", "defaultCountry"), ("?encoding=klingon", "encoding")] {
        let refused = post(&s, query, "text/csv", csv).await.expect(400);
        assert_eq!(refused["error"]["details"][0]["field"], field, "{refused}");
    }
}));

on_both!(a_row_that_breaks_costs_its_line_alone () |s: Rc<Setup>| Box::pin(async move {
    let csv = "sep=;\r\nphone;name\r+60123456789;\"Ann\nof \r\nIpoh\"\n+60123456780;\"Bob\n+60123456781;Lee\r\n12;Bad\r+60123456782;\"Kim; J\"\n";
    let (done, items) = import(&s, "", "text/csv", csv).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(3), &json!(2)), "{items:?}");
    let errors: Vec<String> = items.iter().filter(|i| i["status"] == "failed").map(|i| text(&i["errorMessage"])).collect();
    assert!(errors[0].starts_with("line 6:") && errors[0].contains("quote"), "{errors:?}");
    assert!(errors[1].starts_with("line 8:"), "{errors:?}");
}));

on_both!(failed_rows_come_back_to_be_mended () |s: Rc<Setup>| Box::pin(async move {
    let csv = "Full Name,Mobile No. ,City\nAnn,+60123456789,Ipoh\n\"Bob, B\",62812345678.0,=Johor\nLee,+60123456781,KL,x\n";
    let (done, _) = import(&s, "", "text/csv", csv).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(1), &json!(2)));
    let path = format!("/batch/{}/failed-rows.csv", text(&done["id"]));
    let file = s.admin.get(&path).await;
    assert_eq!(file.status, 200);
    let lines: Vec<&str> = file.text.trim_start_matches('\u{feff}').lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "Full Name,Mobile No.,City,reason");
    assert!(lines[1].starts_with("\"Bob, B\",62812345678.0,'=Johor,\"line 3: a decimal number"), "{lines:?}");
    assert!(lines[2].starts_with("Lee,'+60123456781,KL,") && lines[2].ends_with(",x"), "{lines:?}");
    // Mended in place and loaded again, with the column of reasons still there.
    let mended = file.text.replace("62812345678.0", "+628123456789").replace("\n", "\r\n");
    let mended = mended.trim_end().strip_suffix(",x").expect("the last cell").to_owned();
    let (done, items) = import(&s, "", "text/csv", mended).await;
    assert_eq!(done["successCount"], json!(2), "{items:?}");
    // Of a JSON import as well; of another kind of batch there is none.
    let body = json!({ "contacts": [{ "phoneE164": "x", "name": "Eve", "tags": ["a", "b"] }, { "phoneE164": "+60123456700" }] });
    let done = s.ended(&accepted(s.admin.post("/batch/import", &body).await.expect(202))).await;
    let file = s.admin.get(&format!("/batch/{}/failed-rows.csv", text(&done["id"]))).await;
    assert!(file.text.contains("phoneE164,name,tags,reason\nx,Eve,\"a, b\",line 1: not a phone number"), "{}", file.text);
    let ids = s.contacts(1).await;
    let sent = s.send(&ids, json!({})).await;
    s.admin.get(&format!("/batch/{sent}/failed-rows.csv")).await.expect(404);
    s.admin.get("/batch/999999/failed-rows.csv").await.expect(404);
}));

on_both!(a_workbook_shows_what_a_person_sees () |s: Rc<Setup>| Box::pin(async move {
    use rust_xlsxwriter::{Format, Workbook};
    let mut book = Workbook::new();
    let hidden = book.add_worksheet();
    hidden.set_name("Codes").expect("name").set_hidden(true);
    hidden.write(0, 0, "nothing").expect("written");
    let sheet = book.add_worksheet();
    sheet.set_name("People").expect("name").set_active(true);
    let header = ["Phone", "Name", "attributes.birthday", "attributes.at", "attributes.share", "attributes.price", "attributes.plain"];
    for (column, cell) in (0u16..).zip(header) {
        sheet.write(0, column, cell).expect("written");
    }
    sheet.write(1, 0, 60_123_456_789_f64).expect("written");
    sheet.write(1, 1, "Ann").expect("written");
    for (column, value, format) in [
        (2, 45_659.0, "dd/mm/yyyy"), (3, 0.75, "h:mm AM/PM"), (4, 0.155, "0.0%"), (5, 1_234.5, "[$RM-43E]#,##0.00"), (6, 42.0, "General"),
    ] {
        sheet.write_with_format(1, column, value, &Format::new().set_num_format(format)).expect("written");
    }
    sheet.write(2, 0, 62_812_345_678.5).expect("written");
    let other = book.add_worksheet();
    other.set_name("Others").expect("name");
    other.write(0, 0, "Mobile").expect("written");
    other.write(1, 0, "+60123456780").expect("written");
    let bytes = book.save_to_buffer().expect("saved");
    let plan = post(&s, "?dryRun=true", XLSX, bytes.clone()).await.expect(200)["data"].clone();
    assert_eq!((&plan["sheet"], &plan["sheets"]), (&json!("People"), &json!(["Codes", "People", "Others"])));
    assert_eq!(plan["rows"][0]["attributes"], json!({
        "birthday": "02/01/2025", "at": "6:00 PM", "share": "15.5%", "price": "RM1,234.50", "plain": "42",
    }));
    assert_eq!((&plan["rows"][0]["phone"], &plan["errors"][0]["line"]), (&json!("60123456789"), &json!(3)));
    assert_eq!(plan["failReasons"], json!({ "phone_fraction": 1 }));
    for sheet in ["Others", "others", "3"] {
        let plan = post(&s, &format!("?dryRun=true&sheet={sheet}"), XLSX, bytes.clone()).await.expect(200)["data"].clone();
        assert_eq!((&plan["sheet"], &plan["rows"][0]["phone"]), (&json!("Others"), &json!("60123456780")));
    }
    let refused = post(&s, "?sheet=Nowhere", XLSX, bytes).await.expect(400);
    assert_eq!(refused["error"]["details"][0]["field"], "sheet");
    assert!(text(&refused["error"]["details"][0]["message"]).contains("People"), "{refused}");
}));

on_both!(a_tag_is_one_however_it_is_spelt () |s: Rc<Setup>| Box::pin(async move {
    let csv = "phone,tags\n+60123456789,\"VIP  Club ;new\"\n+60123456780,vip club\n";
    let (done, items) = import(&s, "?tags=%20Fair%20", "text/csv", csv).await;
    assert_eq!(done["config"]["tags"], json!(["fair"]));
    let ids: Vec<&Value> = items.iter().map(|item| &item["contactId"]).collect();
    let count = async |audience: Value| {
        let body = json!({ "audience": audience, "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" });
        let answer = s.admin.post("/batch/send", &body).await;
        if answer.status == 400 { 0 } else { answer.expect(202)["data"]["totalCount"].as_i64().expect("a count") }
    };
    assert_eq!(count(json!({ "tagsAny": ["Vip Club"] })).await, 2);
    assert_eq!(count(json!({ "tagsAll": ["vip  club", " FAIR"] })).await, 2);
    assert_eq!(count(json!({ "all": true, "tagsNone": ["NEW "] })).await, 1);
    let body = json!({ "contactIds": [ids[0]], "tags": [" VIP club"], "operation": "remove" });
    s.ended(&accepted(s.admin.post("/batch/tags", &body).await.expect(202))).await;
    assert_eq!(count(json!({ "tagsAny": ["vip club"] })).await, 1);
    let refused = s.admin.post("/batch/tags", &json!({ "contactIds": [ids[0]], "tags": ["  "], "operation": "add" })).await.expect(400);
    assert_eq!(refused["error"]["details"][0]["field"], "tags[0]");
    // What is skipped of a contact that exists is its name, not the tags of the import.
    let (done, _) = import(&s, "?tags=later", "text/csv", "phone,name\n+60123456789,Other\n").await;
    assert_eq!(done["skippedCount"], json!(1));
    assert_eq!(count(json!({ "tagsAny": ["later"] })).await, 1);
    let preview = json!({ "contactIds": [ids[0]], "content": "{{ name | default('none') }}", "scheduleAt": "2099-01-01T00:00:00Z" });
    let batch = accepted(s.admin.post("/batch/send", &preview).await.expect(202));
    assert_eq!(s.admin.get(&format!("/batch/{batch}/preview")).await.expect(200)["data"][0]["message"], "none");
    s.audited().await;
}));

on_both!(columns_are_told_with_the_error_and_encodings_are_read () |s: Rc<Setup>| Box::pin(async move {
    let refused = post(&s, "", "text/csv", "Name,Ruf\nAnn,+60123456789\n".replace("+60123456789", "x")).await.expect(400);
    let message = text(&refused["error"]["details"][0]["message"]);
    assert!(message.contains("\"Name\" (name)") && message.contains("\"Ruf\" (not read)"), "{message}");
    let latin = b"Mobile No. ;Name\r\n+60123456789;Jos\xe9 Mu\xf1oz \x96 \x80\r\n".to_vec();
    for query in ["?dryRun=true", "?dryRun=true&encoding=cp1252", "?dryRun=true&encoding=windows-1252"] {
        let plan = post(&s, query, "text/csv", latin.clone()).await.expect(200)["data"].clone();
        assert_eq!((&plan["rows"][0]["name"], &plan["encoding"]), (&json!("José Muñoz – €"), &json!("windows-1252")), "{query}");
    }
    let (_, items) = import(&s, "", "text/csv", latin).await;
    assert_eq!(phones(&items), [("60123456789".to_owned(), &json!("succeeded"))]);
}));
