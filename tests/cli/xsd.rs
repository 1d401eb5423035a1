//! What an XML document breaks of an XSD, for the schemas that are written as that of `JUnit`: global elements, attributes, and
//! lists of children in any order and number. What is more than that in a schema fails the test that uses it.

use roxmltree::{Document, Node};

const XS: &str = "http://www.w3.org/2001/XMLSchema";

pub(crate) fn errors(schema: &str, document: &str) -> Vec<String> {
    let schema = Document::parse(schema).unwrap();
    let document = Document::parse(document).unwrap();
    let mut errors = Vec::new();
    element(schema.root_element(), document.root_element(), &mut errors);
    errors
}

fn children<'a>(node: Node<'a, 'a>) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(Node::is_element).inspect(|child| assert_eq!(child.tag_name().namespace(), Some(XS)))
}

fn global<'a>(schema: Node<'a, 'a>, kind: &str, name: &str) -> Option<Node<'a, 'a>> {
    children(schema).find(|node| node.tag_name().name() == kind && node.attribute("name") == Some(name))
}

fn element(schema: Node<'_, '_>, node: Node<'_, '_>, errors: &mut Vec<String>) {
    let name = node.tag_name().name();
    let Some(declared) = global(schema, "element", name) else {
        return errors.push(format!("{name}: there is no such element"));
    };
    let described = match declared.attribute("type") {
        Some("xs:string") => None,
        Some(named) => Some(global(schema, "complexType", named).unwrap()),
        None => Some(children(declared).next().unwrap()),
    };
    let (mut attributes, mut inner) = (Vec::new(), Vec::new());
    for part in described.iter().flat_map(|described| children(*described)) {
        match part.tag_name().name() {
            "attribute" => attributes.push(part),
            "sequence" | "choice" => allowed(part, &mut inner),
            other => panic!("{other} is not known here"),
        }
    }
    for given in node.attributes() {
        match attributes.iter().find(|attribute| attribute.attribute("name") == Some(given.name())) {
            None => errors.push(format!("{name}: no attribute {}", given.name())),
            Some(attribute) => assert_eq!(attribute.attribute("type"), Some("xs:string"), "{name}: {}", given.name()),
        }
    }
    for attribute in attributes.iter().filter(|attribute| attribute.attribute("use") == Some("required")) {
        let required = attribute.attribute("name").unwrap();
        if !node.has_attribute(required) {
            errors.push(format!("{name}: the attribute {required} is missing"));
        }
    }
    let text = described.is_none_or(|described| described.attribute("mixed") == Some("true"));
    for child in node.children() {
        if child.is_element() {
            if inner.contains(&child.tag_name().name()) {
                element(schema, child, errors);
            } else {
                errors.push(format!("{name}: no element {} in it", child.tag_name().name()));
            }
        } else if child.is_text() && !text && !child.text().unwrap().trim().is_empty() {
            errors.push(format!("{name}: no text in it"));
        }
    }
}

/// The elements that a list of children names. They are counted in no schema here.
fn allowed<'a>(part: Node<'a, 'a>, names: &mut Vec<&'a str>) {
    for child in children(part) {
        match child.tag_name().name() {
            "element" => names.push(child.attribute("ref").unwrap()),
            "sequence" | "choice" => allowed(child, names),
            other => panic!("{other} is not known here"),
        }
    }
    let repeated = part.attribute("maxOccurs") == Some("unbounded");
    let single = children(part).all(|child| child.attribute("maxOccurs") == Some("unbounded"));
    assert!(repeated || single && children(part).count() == 1, "order and number are not checked here");
}
